"""Measurements that anyone can run again: ./dev bench [name]. Ratios within one run, never seconds to keep."""
