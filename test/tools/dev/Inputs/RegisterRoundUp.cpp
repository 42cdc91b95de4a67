// Makes a plugin of the pass that tools/dev/new wrote, so that it can be run
// without building all of Nibble a second time.

#include "nibble/passes/Quantize/Passes.h"

#include "mlir/Tools/Plugins/PassPlugin.h"

extern "C" mlir::PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "RoundUp", "1", nibble::registerRoundUp};
}
