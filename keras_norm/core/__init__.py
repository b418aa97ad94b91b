"""The engine: areas, operations, statistics, recoveries, and their layer."""
