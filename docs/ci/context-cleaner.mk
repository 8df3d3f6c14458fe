# Targets for the Makefile of another project:
#
#     include path/to/context-cleaner.mk
#     test: stack-up ; pytest
#
# CONTEXT_CLEANER is the program, CC_FLAGS what is added to each command (CC_FLAGS=--strict: a stack that fell back is an error).

CONTEXT_CLEANER ?= context-cleaner
CC_FLAGS ?=

.PHONY: stack-up stack-down stack-status stack-restart stack-logs stack-drill

stack-up:
	$(CONTEXT_CLEANER) up $(CC_FLAGS)

stack-down:
	$(CONTEXT_CLEANER) down $(CC_FLAGS)

stack-restart:
	$(CONTEXT_CLEANER) restart $(CC_FLAGS)

stack-status:
	$(CONTEXT_CLEANER) status

stack-logs:
	$(CONTEXT_CLEANER) logs $(SERVICE)

stack-drill:
	$(CONTEXT_CLEANER) drill
