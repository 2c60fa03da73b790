"""What a home goes through, and that nothing of it is lost or crossed: `make torture`.

    steps      what changes the disk, counted; a plan says at which one what happens
    life       the calls that a home knows, in a process of its own (worker, nursery)
    ledger     what a home must hold after the calls that were acknowledged
    scenes     a life from the first chat to the last, which crashes, faults and processes live

`tests/unit_tests/trust` has a few seconds of each part.
"""
