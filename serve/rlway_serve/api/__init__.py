"""The documented application: everything but the answering of act requests on a hot connection."""
