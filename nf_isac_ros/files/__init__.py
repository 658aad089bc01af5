"""Files that people write and read: scenes, results, deployments; validated whole."""
