"""Which steps to measure so that few of them find an onset: docs/adaptive-steps.md.

rule.py             published steps, measured steps and the onset so far -> the next step, and why
trajectory.py       which trajectory of a metric is followed, and its onset
control_variate.py  means of some items, corrected by all items of neighbouring steps
"""
