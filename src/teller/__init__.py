"""Tells: notifications of what happened and reports of who attacked. A process of its own, which nothing else waits for."""
