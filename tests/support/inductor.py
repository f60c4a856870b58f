"""How inductor compiles in tests: without the vector instructions of the machine.

To find out which of them the C++ compiler knows, inductor has it compile a program for each kind,
which takes as long as all kernels of a tiny model; and these compile faster without them.
"""

from torch._inductor import config

# Asked nothing about a length that no vector has, it finds no instructions that would fit.
UNVECTORISED = config.patch({"cpp.vec_isa_ok": True, "cpp.simdlen": 1})
