# A user needs two of these: make demo, make test.
DB ?= sqlite
RELEASES ?= 27.5.1 29.4.0 31.3.1 32.2.1 33.0.2 34.0.0 34.0.0-sqlalchemy-2.1
LAB = .venv/bin/python -m dedangle.lab

# Without compiled modules every service of the lab would compile every module at every start.
unexport PYTHONDONTWRITEBYTECODE

# Else make takes them for leavings of a chain of rules and deletes them.
.PRECIOUS: .venvs/%/made-from

.PHONY: demo lab lab-break lab-down test test-libvirt test-galera test-thorough test-releases coverage lint docs pictures transcripts clean

demo: .venv/made-from ## a cloud comes up, is broken, and is cleaned through all doors
	@.venv/bin/python -m dedangle.lab.demo

lab: .venv/made-from ## the same cloud, left up; DB=mariadb for MariaDB, RabbitMQ and a process for each service, DB=galera or galera-all for a cluster
	@$(LAB) up --database $(DB)

lab-break: .venv/made-from ## plant dangling attachments in the lab, to practise on; minutes
	@$(LAB) break --database $(DB)

lab-down: .venv/made-from
	@$(LAB) down

test: .venv/made-from ## everything that CI runs
	@$(MAKE) --no-print-directory --jobs=2 lint docs
	.venv/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --ignore tests/interleavings --ignore tests/releases --ignore tests/cluster

test-libvirt: .venv/made-from ## the part of test that runs libvirt, QEMU and Ceph; as root, with packages from Debian
	.venv/bin/pytest tests/qemu

test-galera: .venv/made-from ## nodes killed and frozen under cleanup, sweep and undo on three Galera nodes behind HAProxy; packages from Debian
	.venv/bin/pytest tests/cluster

test-thorough: .venv/made-from ## test with every value and killed at every step, and 300 operations while the sweep removes; hours
	DEDANGLE_THOROUGH=1 .venv/bin/pytest -s --ignore tests/releases

test-releases: ## the wheel beside Nova and Cinder of every release; RELEASES=34.0.0 for one, PYTHON=python3.13 for another Python
	@$(MAKE) --no-print-directory --keep-going --output-sync=target --jobs=2 $(RELEASES:%=test-nova-%)

test-nova-%: .venvs/%/made-from
	@DB=$(DB) tools/test-release $*

coverage: .venv/made-from ## lines and branches of the pure core that its own tests run
	.venv/bin/pytest --quiet --cov dedangle.core --cov-branch --cov-report term-missing:skip-covered tests/core

lint: .venv/made-from
	.venv/bin/ruff check src tests tools benchmarks docs
	.venv/bin/ruff format --check src tests tools benchmarks docs
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/python tools/make_docs.py --check

docs: .venvs/docs/made-from ## the manual in build/docs/html and dedangle(1) in build/docs/man; a warning is an error
	.venvs/docs/bin/sphinx-build -E -W --keep-going -q -d build/docs/doctrees -b html docs build/docs/html
	.venvs/docs/bin/sphinx-build -W --keep-going -q -d build/docs/doctrees -b man docs build/docs/man

transcripts: .venv/made-from ## docs/transcripts.md, written from what a terminal in the lab shows
	DEDANGLE_THOROUGH=1 DEDANGLE_WRITE_TRANSCRIPTS=1 .venv/bin/pytest tests/docs/test_transcripts.py

pictures: .venv/made-from ## pictures and transcripts of README and manual, taken in the lab; by hand, with chromium
	.venv/bin/python tools/make_pictures.py

clean:
	rm -rf build .venv .venvs .lab .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/made-from: pyproject.toml requirements/lab.txt
	@echo "Making .venv with Nova, Cinder, Keystone and Placement (seconds when packages are cached)"
	@tools/make-venv

# Sphinx and what it brings stay out of .venv, whose versions are those of a cloud.
.venvs/docs/made-from: pyproject.toml requirements/lab.txt requirements/docs.txt | .venv/made-from
	@echo "Making .venvs/docs with Sphinx"
	@rm -rf .venvs/docs
	@.venv/bin/uv venv --quiet --python .venv/bin/python .venvs/docs
	@.venv/bin/uv pip install --quiet --python .venvs/docs/bin/python \
		--constraint requirements/lab.txt --constraint requirements/docs.txt --editable '.[docs]'
	@cp pyproject.toml $@

.venvs/%/made-from: requirements/nova/%.txt requirements/nova/fixtures.txt $(wildcard requirements/constraints/*) | .venv/made-from
	@echo "Making .venvs/$* with Nova $*"
	@tools/make-release-venv $*
