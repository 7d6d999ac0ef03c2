/* Everything for one type of value and index. */
#include "product.h"
#include "single.h"
#include "layers.h"
#undef INDEX
#undef INDICES
#undef NAME
