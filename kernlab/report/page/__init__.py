"""The report's page: an executed notebook in, one HTML file out that runs nothing and asks for nothing."""
