"""Apache Airflow provider for the Spark sessions of Azure Synapse Analytics (Livy)."""

__all__ = ["__version__"]

__version__ = "0.1.0"
