# The same commands by shorter names.
.PHONY: quickstart test setup format site cluster cluster-stop

quickstart:
	bash scripts/quickstart.sh

test:
	bash scripts/test.sh

setup:
	bash scripts/setup.sh

format: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

site: setup
	.venv/bin/python scripts/build_site.py

cluster:
	bash slurm/test-cluster.sh start

cluster-stop:
	bash slurm/test-cluster.sh stop
