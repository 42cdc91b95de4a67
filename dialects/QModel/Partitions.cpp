//===- Partitions.cpp - How the work on model ops divides -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What is not here waits for its operands: see Support/Partition.h.
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QModel/QModel.h"

using namespace nibble;
using namespace nibble::qmodel;

Partition RmsNormOp::getPartition() { return Partition::Rows; }
Partition LayerNormOp::getPartition() { return Partition::Rows; }
Partition DynamicQuantizeOp::getPartition() { return Partition::Rows; }

Partition AttentionOp::getPartition() { return Partition::RowsOfWhole; }

Partition RopeOp::getPartition() { return Partition::Gathers; }

Partition ActivationOp::getPartition() { return Partition::Elements; }
Partition GatedActivationOp::getPartition() { return Partition::Elements; }
Partition AddOp::getPartition() { return Partition::Elements; }
Partition MultiplyOp::getPartition() { return Partition::Elements; }
Partition ChannelScaleOp::getPartition() { return Partition::Elements; }
Partition QuantizeOp::getPartition() { return Partition::Elements; }
Partition DequantizeOp::getPartition() { return Partition::Elements; }
