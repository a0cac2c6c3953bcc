"""Programs: the command line, pictures, reports, the viewer."""
