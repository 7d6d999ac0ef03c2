/* Everything for one type of value and index. */
#include "product.h"
#include "ellpack.h"
#include "layers.h"
#undef INDEX
#undef INDICES
#undef NAME
