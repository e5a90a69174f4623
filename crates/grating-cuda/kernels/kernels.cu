// All kernels, as one module.
#include "attention.cuh"
#include "attention_mass.cuh"
#include "attention_rounded.cuh"
#include "linear.cuh"
#include "rows.cuh"
