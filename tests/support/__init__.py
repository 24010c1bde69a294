"""What several test folders share: servers, connections, made-up answers. Nothing here is a test."""
