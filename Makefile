# Few targets; `cargo` does the rest.

PROFILE := ci
CARGO_FLAGS := --locked --profile $(PROFILE)
# The daemon that `install` puts in place.
BINARY ?= target/release/perseat
DESTDIR ?=
CRASH_ROUNDS ?= 300
KILL_ROUNDS ?= 300
RENEWAL_SEEDS ?= 200000
SIMULATION_SEEDS ?= 100000
FUZZ_TARGETS ?= route body yaml expression frame child
FUZZ_SECONDS ?= 3600
FUZZ_TOOLCHAIN ?= nightly
# How long the API is asked at random with each bearer by `make fuzz`.
FUZZ_API_SECONDS ?= 600
FAULT_SEEDS ?= 10000
# Which cases the property tests and the fuzz targets draw in `crash`; those of `test` are always the same (.cargo/config.toml,
# tests/fuzz.rs).
PROPERTY_SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

# How long `soak` goes on at least, within what budget, and with how much traffic.
SOAK_SECONDS ?= 1800
SOAK_BUDGET_MIB ?= 200
SOAK_TRAFFIC_MIB ?= 5120

.PHONY: test check bench crash soak fuzz fuzz-api build install

# Everything that must hold: format, lints, docs, unit, black-box, crash and demo tests. Prints the minutes of each stage.
test:
	@bash .ci/stages

# The quick part, for while you work.
check:
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets --features faults -- -D warnings

bench:
	cargo bench --locked -p perseat

# The crash tests, the simulations and the fault campaigns for longer than `make test` takes them, and the property tests, the
# test of isolation and the fuzz targets over cases of their own.
crash:
	CRASH_ROUNDS=$(CRASH_ROUNDS) cargo test $(CARGO_FLAGS) --features faults --test crash -- --nocapture
	KILL_ROUNDS=$(KILL_ROUNDS) cargo test $(CARGO_FLAGS) --features faults --test oauth -- --nocapture by_seed
	RENEWAL_SEEDS=$(RENEWAL_SEEDS) cargo test $(CARGO_FLAGS) -p perseat-domain --test renewals -- --nocapture whatever
	SIMULATION_SEEDS=$(SIMULATION_SEEDS) cargo test $(CARGO_FLAGS) -p perseat-actors --test simulation -- --nocapture whatever
	FAULT_SEEDS=$(FAULT_SEEDS) cargo test $(CARGO_FLAGS) --features faults -p perseat-journal -p perseat-store --lib -- \
		--nocapture whichever_call_fails random_overwrites_of_recycled_segments whatever_fails_while_the_catalog
	PROPTEST_RNG_SEED=$(PROPERTY_SEED) ISOLATION_SEED=$(PROPERTY_SEED) \
		cargo test $(CARGO_FLAGS) --features faults --workspace --exclude perseat --lib
	ISOLATION_SEED=$(PROPERTY_SEED) cargo test $(CARGO_FLAGS) --features faults --test isolation -- --nocapture every_execution
	FUZZ_SEED=$(PROPERTY_SEED) cargo test $(CARGO_FLAGS) --features faults --test fuzz -- --nocapture

# A steady load within a byte budget: the directory stays within it, memory and open files stay as they are.
soak:
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_BUDGET_MIB=$(SOAK_BUDGET_MIB) SOAK_TRAFFIC_MIB=$(SOAK_TRAFFIC_MIB) \
		cargo test $(CARGO_FLAGS) --features faults --test retention -- --nocapture a_steady_load

# The fuzz targets, instrumented, an hour each; what they find goes to fuzz/found, what fails to fuzz/artifacts.
# `make fuzz FUZZ_TARGETS=yaml FUZZ_SECONDS=60` for less. The corpus in the repository is only read. The API comes first.
fuzz: fuzz-api
	@cargo +$(FUZZ_TOOLCHAIN) --version >/dev/null 2>&1 || { echo "fuzzing needs a nightly compiler; install it with: rustup toolchain install $(FUZZ_TOOLCHAIN)" >&2; exit 1; }
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/found/$$target && \
		cargo +$(FUZZ_TOOLCHAIN) fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
			-dict=fuzz/dictionaries/$$target -print_final_stats=1 || exit 1; \
	done

# The API, asked at random with an owner's bearer and a marketplace user's, at the same time: tests/schemathesis.rs.
fuzz-api:
	SCHEMATHESIS_SECONDS=$(FUZZ_API_SECONDS) cargo test $(CARGO_FLAGS) --features faults --test schemathesis -- --nocapture

# The daemon with optimization. `perseat version` names the commit; whoever builds from an archive gives it.
build:
	PERSEAT_COMMIT=$${PERSEAT_COMMIT:-$$(git rev-parse --short=12 HEAD 2>/dev/null)} cargo build --release --locked

# Puts the daemon, its units and its configuration below DESTDIR; builds nothing, as root seldom has a compiler. A configuration that
# is there stays as it is.
install:
	@test -e $(BINARY) || { echo "$(BINARY) is not there: run 'make build' first, as who has the compiler" >&2; exit 1; }
	install -D -m 755 $(BINARY) $(DESTDIR)/usr/bin/perseat
	install -D -m 755 $(dir $(BINARY))perseat-js-child $(DESTDIR)/usr/bin/perseat-js-child
	install -D -m 644 systemd/perseat.service $(DESTDIR)/usr/lib/systemd/system/perseat.service
	install -D -m 644 systemd/perseat.socket $(DESTDIR)/usr/lib/systemd/system/perseat.socket
	install -D -m 644 systemd/perseat.sysusers $(DESTDIR)/usr/lib/sysusers.d/perseat.conf
	install -D -m 644 systemd/perseat.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/perseat.conf
	install -D -m 644 docs/operations.md $(DESTDIR)/usr/share/doc/perseat/operations.md
	install -D -m 644 config/perseat.toml $(DESTDIR)/usr/share/doc/perseat/perseat.toml
	test -e $(DESTDIR)/etc/perseat/perseat.toml || install -D -m 640 config/perseat.toml $(DESTDIR)/etc/perseat/perseat.toml
