"""Receipts added up: rows by time, step, function and outcome that report and dashboard share, so that their totals agree."""
