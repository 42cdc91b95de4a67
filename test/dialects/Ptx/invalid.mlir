// One case per constraint of Ptx.td; the name says which.

// RUN: quant-opt %s --verify-diagnostics --split-input-file

func.func @lop3_c1(%a: i32) {
  // expected-error @+1 {{expects a table of 8 bits, got 256}}
  %0 = ptx.lop3 %a, %a, %a table 256
  return
}

// -----

func.func @wgmma_c1(%a: vector<2x2xf16>, %b: i64, %sum: vector<8x2x2xf32>) {
  // expected-error @+1 {{expects a fragment of 4x2xf16 or 4x2xbf16, got 'vector<2x2xf16>'}}
  %0 = ptx.wgmma %a, %b, %sum : vector<2x2xf16>, vector<8x2x2xf32>
  return
}

// -----

func.func @wgmma_c2(%a: vector<4x2xf16>, %b: i64, %sum: vector<33x2x2xf32>) {
  // expected-error @+1 {{expects an accumulator of (N/8)x2x2xf32 with N from 8 to 256, got 'vector<33x2x2xf32>'}}
  %0 = ptx.wgmma %a, %b, %sum : vector<4x2xf16>, vector<33x2x2xf32>
  return
}
