// SPDX-License-Identifier: Apache-2.0
// Messages without arrays of numbers include NumPy's header and use nothing of it.
