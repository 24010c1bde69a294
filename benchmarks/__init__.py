"""What waiting costs a triggerer: this package's trigger beside its neighbours', in Airflow's own trigger runner."""
