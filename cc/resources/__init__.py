"""One kind of thing per file: how to read its state, how to ensure it, and the verb that playbooks call it by.

May import the leaves, engine and shell. Must not know services or anything above.
"""
