//===- ChannelTies.h - Channels that need equal scales ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   options.ties = {0, 1, 0, 1}; // channels 0 and 2, and 1 and 3
//
// Query heads that share a value head read the same channels of v. A scale can
// only go there if it is the same for all of them.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_CHANNELTIES_H
#define NIBBLE_NUMERICS_CHANNELTIES_H

#include "nibble/Base/Tensor.h"

#include <span>
#include <vector>

namespace nibble {

/// For every input channel the first of those that it needs an equal scale
/// with, or itself. Empty: no channel depends on another.
using ChannelTies = std::vector<int64_t>;

/// `statistic` [width] with the mean, or the largest, of all tied channels for
/// each of them: [width] f64. `ties` has as many entries, or none.
Tensor meanOfTied(const Tensor &statistic, const ChannelTies &ties);
Tensor maxOfTied(const Tensor &statistic, const ChannelTies &ties);

} // namespace nibble

#endif // NIBBLE_NUMERICS_CHANNELTIES_H
