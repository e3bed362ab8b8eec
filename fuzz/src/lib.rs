//! Fuzz targets for everything that parses what strangers send. None yet: they come with the complete HTTP API.
