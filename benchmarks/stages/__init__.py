"""The stages of benchmarks/gpu_stages.py. Modules called *_jobs run in child processes, and import what they measure.

The stages themselves import neither torch nor DALI nor PyAV: they have to live on where one of those is missing, or crashes.
"""
