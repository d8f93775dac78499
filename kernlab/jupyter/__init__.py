"""What belongs to Jupyter itself: magics, completion, and the routes of the JupyterLab extension."""
