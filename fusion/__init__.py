"""The method: data-free model fusion in plain PyTorch. No Ray, no MLflow, no command line, no clocks."""
