"""One command per published number: `python -m bench.NAME`. Each prints ratios against a named peer of the same run."""
