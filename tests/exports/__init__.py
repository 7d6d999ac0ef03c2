"""Tests of exports: codings, folders, the command, and what reads them."""
