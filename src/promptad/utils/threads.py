"""Results that do not depend on the number of threads."""

# Intel's math library, which torch computes products with on most CPUs, then adds in the same order for any number of
# threads, at no cost that could be measured. It reads this variable before its first product.
SAME_BITS = ("MKL_CBWR", "AUTO,STRICT")
