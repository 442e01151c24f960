"""What MLflow remembers: runs, registered versions, the champion and the log of its moves. Alone imports mlflow."""
