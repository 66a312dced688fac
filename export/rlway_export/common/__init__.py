"""What every room of the exporter uses."""
