# The same commands by shorter names.
.PHONY: quickstart test setup format

quickstart:
	bash scripts/quickstart.sh

test:
	bash scripts/test.sh

setup:
	bash scripts/setup.sh

format: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
