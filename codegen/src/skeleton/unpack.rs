//! `unpack`: a run of a panel's steps into the dot-product layout, `[K / 4][rows][4]` bytes `u = t + 1`.
//!
//! Two-bit codes keep four neighbouring columns of a row together already: a shift and a mask make a quad. So do the codes of
//! family `decode`, whose constant tables make two-bit fields of them. The other codes keep rows in byte lanes. There a constant
//! table turns each code into its trits, two bits each; every column becomes a vector of bytes, and four columns are transposed
//! within 32-bit lanes. The rows that share such a lane lie a quarter of the panel apart, so that the transposed vectors hold
//! neighbouring rows, without a shuffle. Codes of 16-bit words do the same with halves.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::decode::Decode;
use super::{Skeleton as _, at, comment, features, ident, mixed, number, rows, strided};
use crate::batched::UnpackSpec;
use crate::budget::DECODED_SCALES;
use crate::isa::Vocabulary;
use crate::spec::{Code, Family, KernelSpec, Prefetch, Scales, Strips};

/// `pub unsafe fn <id>(args: &UnpackArgs) { … }`
///
/// # Panics
///
/// When the ISA has no vectors; `UnpackSpec::validate` refuses that.
pub fn unpack(spec: &UnpackSpec) -> TokenStream {
    let words = spec
        .isa
        .vocabulary()
        .expect("unpack kernels are for vectors");
    let skeleton = Unpack { spec, words };
    let (id, docs, features) = (
        format_ident!("{}", spec.id()),
        skeleton.docs(),
        features(spec.isa),
    );
    let (constants, steps) = (skeleton.constants(), skeleton.steps());
    let advance = match spec.period() * spec.code.step_cols() / 4 {
        1 => quote!(stride),
        quads => {
            let quads = number(quads);
            quote!(#quads * stride)
        }
    };
    let safety = comment(
        "SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here, and the CPU's ISA.",
    );
    let body = match spec.period() {
        1 => quote! {
            for _ in 0..steps {
                #steps
                weights = weights.wrapping_add(step_stride);
                out = out.wrapping_add(#advance);
            }
        },
        period => {
            let period = number(period);
            let note = comment(
                "Steps that are missing at the end count as zero bits; what they give is not used.",
            );
            quote! {
                let mut left = steps;
                while left > 0 {
                    #note
                    #steps
                    weights = weights.wrapping_add(#period * step_stride);
                    out = out.wrapping_add(#advance);
                    left = left.saturating_sub(#period);
                }
            }
        }
    };
    quote! {
        #docs
        #features
        pub unsafe fn #id(args: &UnpackArgs) {
            let UnpackArgs { steps, step_stride, stride, .. } = *args;
            let (mut weights, mut out) = (args.weights, args.out);
            #safety
            unsafe {
                #constants
                #body
            }
        }
    }
}

/// What a kernel runs for one period of steps, with what its closures run at each call; `None` for plain Rust.
pub fn unpack_statements(spec: &UnpackSpec) -> Option<TokenStream> {
    let words = spec.isa.vocabulary()?;
    let skeleton = Unpack { spec, words };
    let (period, quads) = (spec.period(), spec.period() * spec.code.step_cols() / 4);
    let repeated = |body: TokenStream, calls: usize| {
        let calls = (0..calls).map(|_| body.clone());
        quote!(#(#calls)*)
    };
    let called = match spec.code {
        Code::B2 | Code::D3 | Code::D5 | Code::M5 | Code::R5 => TokenStream::new(),
        Code::T5 => {
            let (trits, columns) = (skeleton.trits_t5(), skeleton.transpose());
            [repeated(trits, period), repeated(columns, quads)]
                .into_iter()
                .collect()
        }
        Code::W3 => {
            let (trits, columns) = (skeleton.trits_w3(), skeleton.transpose_words());
            [repeated(trits, period), repeated(columns, quads)]
                .into_iter()
                .collect()
        }
        _ => repeated(skeleton.transpose(), quads),
    };
    let steps = skeleton.steps();
    Some(quote!(#steps #called))
}

/// What the parts of one kernel share.
struct Unpack<'a> {
    spec: &'a UnpackSpec,
    words: &'a dyn Vocabulary,
}

impl Unpack<'_> {
    fn docs(&self) -> TokenStream {
        let spec = self.spec;
        let (id, code, lanes) = (spec.id(), spec.code.name(), spec.lanes());
        let title = format!(
            " `{id}`: code {code} into the dot-product layout on {}.",
            spec.isa.name()
        );
        let steps = match spec.period() {
            1 => "A step makes".to_owned(),
            period => format!("{period} steps make"),
        };
        let quads = match spec.period() * spec.code.step_cols() / 4 {
            1 => "a quad".to_owned(),
            quads => format!("{quads} quads"),
        };
        let numbers = format!(
            " Panels of {lanes} rows, {} columns in {} bytes a step. {steps} {quads} of columns.",
            spec.code.step_cols(),
            spec.panel_step_bytes(),
        );
        quote! {
            #[doc = #title]
            #[doc = ""]
            #[doc = #numbers]
            #[doc = " Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text."]
            #[doc = ""]
            #[doc = " # Safety"]
            #[doc = ""]
            #[doc = " `args` meets the contract of [`UnpackArgs`]."]
        }
    }

    /// Statements before the loop: tables of trits, and what transposes four columns.
    fn constants(&self) -> TokenStream {
        let (tables, transpose) = match self.spec.code {
            Code::B2 => return TokenStream::new(),
            Code::D3 | Code::D5 => return self.decoding_tables(),
            Code::M5 => {
                let (tables, vectors) =
                    (mixed::tables(self.words), mixed::table_vectors(self.words));
                return quote!(#tables #vectors);
            }
            Code::R5 => return rows::trit_tables(self.words),
            Code::Planes | Code::S4 => (TokenStream::new(), self.transpose()),
            Code::W3 => {
                let (table, trits) = (self.table_w3(), self.trits_w3());
                (quote!(#table #trits), self.transpose_words())
            }
            Code::T2 => (
                self.table("TRITS", 16, 9, quote!(n), &[3, 1]),
                self.transpose(),
            ),
            Code::F3 => (
                self.table("TRITS", 32, 27, quote!(n), &[9, 3, 1]),
                self.transpose(),
            ),
            Code::T3 | Code::P3 => (
                self.table("TRITS", 16, 14, quote!(n + 13), &[1, 3, 9]),
                self.transpose(),
            ),
            Code::T5 => {
                let first = self.table("FIRST", 128, 122, quote!(n + 121), &[1, 3, 9, 27]);
                let last = self.table("LAST", 128, 122, quote!(n + 121), &[81]);
                let trits = self.trits_t5();
                (quote!(#first #last #trits), self.transpose())
            }
            Code::T7 => (
                self.table("TRITS", 64, 54, quote!(n), &[9, 3, 1, 27]),
                self.transpose(),
            ),
        };
        quote!(#tables #transpose)
    }

    /// The matrix-vector kernel of one panel that decodes the same code: its tables and its lookups are those of [`Decode`] here too.
    fn decoding_kernel(&self) -> KernelSpec {
        KernelSpec {
            isa: self.spec.isa,
            family: Family::Decode,
            code: self.spec.code,
            variant: None,
            panels: 1,
            block: 1,
            window: 1,
            batch: 1,
            strips: Strips::Adjacent,
            prefetch: Prefetch::Dense,
            scales: Scales::Whole,
        }
    }

    /// The tables that the matrix-vector kernels of family `decode` decode with, and the vectors that hold them.
    fn decoding_tables(&self) -> TokenStream {
        let decode = Decode {
            spec: &self.decoding_kernel(),
            words: self.words,
        };
        let (tables, vectors) = (decode.tables(), decode.vectors_of_tables());
        quote!(#tables #vectors)
    }

    /// A constant table of the digits of `value`, which is in terms of the code `n`: the digit at each place of `places`, two bits
    /// each, the first in the lowest bits. Then the vectors that hold it, `<name in lower case><i>`.
    ///
    /// A balanced number of `g` trits plus `(3^g - 1) / 2` has the plain digits `t + 1`.
    fn table(
        &self,
        name: &str,
        entries: usize,
        codes: usize,
        value: TokenStream,
        places: &[usize],
    ) -> TokenStream {
        let bytes = self.words.table_bytes();
        let digits = places.iter().enumerate().map(|(index, &place)| {
            let (place_written, weight) = (number(place), number(1 << (2 * index)));
            let digit = match place {
                1 => quote!(value % 3),
                _ => quote!(value / #place_written % 3),
            };
            match index {
                0 => digit,
                _ => quote!(#digit * #weight),
            }
        });
        let digits = quote!(#(#digits)+*);
        let constant = format_ident!("{name}");
        let loads = (0..entries.div_ceil(bytes)).map(|i| {
            let vector = ident(&name.to_lowercase(), i);
            let offset = number(i * bytes);
            let from = match i {
                0 => quote!(#constant.as_ptr()),
                _ => quote!(#constant.as_ptr().add(#offset)),
            };
            let load = self.words.load_table(from);
            quote!(let #vector = #load;)
        });
        let (size, codes) = (number(entries.next_multiple_of(bytes)), number(codes));
        quote! {
            const #constant: [u8; #size] = {
                let (mut entries, mut n) = ([0; #size], 0);
                while n < #codes {
                    let value = #value;
                    entries[n] = (#digits) as u8;
                    n += 1;
                }
                entries
            };
            #(#loads)*
        }
    }

    /// `let store_quad = |columns, out| { … };`: four vectors of bytes, one for each column, to four vectors of neighbouring rows.
    ///
    /// First the even and the odd bytes of two columns pair up in 16-bit lanes, then the pairs in 32-bit lanes.
    fn transpose(&self) -> TokenStream {
        let w = self.words;
        let vector = w.vector();
        let (even, low) = (w.splat16(quote!(0x00ff)), w.splat32(quote!(0x0000_ffff)));
        let pair = |a: TokenStream, b: TokenStream| {
            let up = w.shift_left(16, b.clone(), 8);
            let down = w.shift_right(16, a.clone(), 8);
            (
                w.merge_bits(quote!(even), a, up),
                w.merge_bits(quote!(even), down, b),
            )
        };
        let (ab_even, ab_odd) = pair(quote!(a), quote!(b));
        let (cd_even, cd_odd) = pair(quote!(c), quote!(d));
        // Byte 0 of a lane is quarter 0 of the rows, byte 1 quarter 1: even bytes are quarters 0 and 2, odd ones 1 and 3.
        let quarters = [
            ("ab_even", "cd_even", 0),
            ("ab_odd", "cd_odd", 0),
            ("ab_even", "cd_even", 1),
            ("ab_odd", "cd_odd", 1),
        ];
        let stores = quarters
            .iter()
            .enumerate()
            .map(|(quarter, (ab, cd, half))| {
                let (ab, cd) = (format_ident!("{ab}"), format_ident!("{cd}"));
                let rows = match half {
                    0 => w.merge_bits(quote!(low), quote!(#ab), w.shift_left(32, quote!(#cd), 16)),
                    _ => w.merge_bits(quote!(low), w.shift_right(32, quote!(#ab), 16), quote!(#cd)),
                };
                let store = w.store(at("out", quarter * self.spec.lanes()), rows);
                quote!(#store;)
            });
        let note = comment(
            "Transposes bytes within 32-bit lanes: four columns become the quads of four quarters of the rows.",
        );
        quote! {
            #note
            let (even, low) = (#even, #low);
            let store_quad = |[a, b, c, d]: [#vector; 4], out: *mut u8| {
                let (ab_even, ab_odd) = (#ab_even, #ab_odd);
                let (cd_even, cd_odd) = (#cd_even, #cd_odd);
                #(#stores)*
            };
        }
    }

    /// Statements for one period of steps.
    fn steps(&self) -> TokenStream {
        match self.spec.code {
            Code::B2 => return self.step_b2(),
            Code::D3 => return self.step_d3(),
            Code::D5 => return self.step_d5(),
            Code::M5 => return self.step_m5(),
            Code::R5 => return self.step_r5(),
            _ => {}
        }
        let cols = self.spec.code.step_cols();
        let steps = (0..self.spec.period()).map(|step| match self.spec.code {
            Code::T5 => self.step_t5(step),
            Code::T3 | Code::P3 => self.step_t3(),
            Code::T7 => self.step_t7(),
            Code::S4 => self.step_s4(),
            Code::W3 => self.step_w3(step),
            Code::Planes => self.step_planes(),
            Code::T2 => self.step_t2(),
            Code::F3 => self.step_f3(),
            Code::B2 | Code::D3 | Code::D5 | Code::M5 | Code::R5 => unreachable!("returned above"),
        });
        let quads = (0..self.spec.period() * cols / 4).map(|quad| {
            let columns = (0..4).map(|i| column(4 * quad + i));
            let out = strided("out", quad, "stride");
            quote!(store_quad([#(#columns),*], #out);)
        });
        quote! {
            #(#steps)*
            #(#quads)*
        }
    }

    /// The field of two bits at `shift` of every byte of `fields`.
    fn field(&self, fields: TokenStream, shift: u32) -> TokenStream {
        self.words.byte_bits(fields, shift, 3, self.words.splat8(3))
    }

    /// `store(quad <quad>, value);`: a vector that holds a quad of neighbouring rows already.
    fn store_rows(&self, quad: usize, value: TokenStream) -> TokenStream {
        let store = self.words.store(strided("out", quad, "stride"), value);
        quote!(#store;)
    }

    /// Negates trits where `negative` has ones: `2 - u` in each field, which is `twos - fields` as a whole.
    ///
    /// A complement is `-fields - 1`, so what is added afterwards is `twos + 1`. No field borrows from another.
    fn negate(&self, fields: TokenStream, twos: u8) -> TokenStream {
        let w = self.words;
        let back = w.and(quote!(negative), w.splat8(twos + 1));
        w.add(8, w.xor(fields, quote!(negative)), back)
    }

    /// Sixteen columns of two-bit codes: plane `p` is quad `p`.
    fn step_b2(&self) -> TokenStream {
        let w = self.words;
        let codes = w.load(quote!(weights));
        let quads =
            (0..4).map(|plane| self.store_rows(plane, self.field(quote!(codes), 2 * plane as u32)));
        quote! {
            let codes = #codes;
            #(#quads)*
        }
    }

    /// Twenty columns of five trits a byte: two lookups give the fields of five quads, the middle one a bit from each.
    fn step_d5(&self) -> TokenStream {
        let w = self.words;
        let decode = Decode {
            spec: &self.decoding_kernel(),
            words: w,
        };
        let decoded = decode.decoded_d5(0, [quote!(first), quote!(last)]);
        let middle = w.or_and(quote!(first), quote!(last), w.splat8(3 << 4));
        let quads = [
            self.field(quote!(first), 0),
            self.field(quote!(first), 2),
            w.shift_right(16, middle, 4),
            self.field(quote!(last), 2),
            self.field(quote!(last), 0),
        ];
        let stores = quads.into_iter().enumerate();
        let stores = stores.map(|(quad, value)| self.store_rows(quad, value));
        quote! {
            #decoded
            #(#stores)*
        }
    }

    /// 36 columns of codes of three trits: a pick and a lookup for four codes of each row give the fields of three quads.
    fn step_d3(&self) -> TokenStream {
        let decode = Decode {
            spec: &self.decoding_kernel(),
            words: self.words,
        };
        let names = ["low", "high", "rest"];
        let words = decode.words_d3(0, names.map(|name| format_ident!("{name}")));
        let stores = names.into_iter().enumerate().map(|(vector, name)| {
            let decoded = decode.decoded_d3(name, format_ident!("{name}"));
            let stores = (0..3).map(|field| {
                self.store_rows(
                    3 * vector + field,
                    self.field(quote!(decoded), 2 * field as u32),
                )
            });
            quote! {
                let decoded = #decoded;
                #(#stores)*
            }
        });
        quote! {
            #words
            #(#stores)*
        }
    }

    /// The columns of a group, from `first` on: the two-bit fields of `trits`.
    fn columns_of_fields(&self, first: usize, count: usize) -> TokenStream {
        let columns = (0..count).map(|i| {
            let (name, value) = (column(first + i), self.field(quote!(trits), 2 * i as u32));
            quote!(let #name = #value;)
        });
        quote!(#(#columns)*)
    }

    /// Four columns of a byte: two trits a nibble.
    fn step_t2(&self) -> TokenStream {
        let w = self.words;
        let codes = w.load(quote!(weights));
        let groups = (0..2).map(|group| {
            let index = w.byte_bits(quote!(codes), 4 * group, 0x0f, w.splat8(0x0f));
            let trits = w.lookup(&[quote!(trits0)], index);
            let columns = self.columns_of_fields(2 * group as usize, 2);
            quote! {
                let trits = #trits;
                #columns
            }
        });
        quote! {
            let codes = #codes;
            #(#groups)*
        }
    }

    /// 24 columns: eight nibbles and a byte of fifth bits, those of low nibbles from its lowest bit up, of high ones from bit 4 up.
    fn step_f3(&self) -> TokenStream {
        let w = self.words;
        let fifths = w.load(at("weights", 4 * self.spec.lanes()));
        // The fifth bit of a low nibble, and that of the high nibble beside it.
        let places = w.splat8(0x11);
        let pairs = (0..4usize).map(|pair| {
            let codes = w.load(at("weights", pair * self.spec.lanes()));
            let bits = w.byte_bits(quote!(fifths), pair as u32, 0x11, quote!(places));
            let indices = [
                w.low_nibbles(quote!(codes), quote!(bits)),
                w.high_nibbles(quote!(codes), quote!(bits)),
            ];
            let groups = indices.into_iter().enumerate().map(|(nibble, index)| {
                let trits = w.lookup(&[quote!(trits0), quote!(trits1)], index);
                let columns = self.columns_of_fields(6 * pair + 3 * nibble, 3);
                quote! {
                    let trits = #trits;
                    #columns
                }
            });
            quote! {
                let (codes, bits) = (#codes, #bits);
                #(#groups)*
            }
        });
        quote! {
            let (fifths, places) = (#fifths, #places);
            #(#pairs)*
        }
    }

    /// Twenty columns of mixed digits: trit `i` of a byte is quad `i`.
    fn step_m5(&self) -> TokenStream {
        let w = self.words;
        let names = mixed::DECODED.map(|name| format_ident!("{name}"));
        let (codes, decoded) = (w.load(quote!(weights)), mixed::decoded(w, &names));
        let quads = mixed::FIELDS.into_iter().enumerate();
        let quads = quads.map(|(quad, (byte, field))| {
            let name = &names[byte];
            let fields = self.field(quote!(#name), DECODED_SCALES[field]);
            self.store_rows(quad, fields)
        });
        quote! {
            let codes = #codes;
            #decoded
            #(#quads)*
        }
    }

    /// Four columns of five rows a byte: trit `i` of a byte is that of fifth `i` of the panel's rows.
    fn step_r5(&self) -> TokenStream {
        let w = self.words;
        let (codes, fields) = (w.load(quote!(weights)), rows::trit_fields(w));
        let stores = rows::TRIT_FIELDS.into_iter().enumerate();
        let stores = stores.map(|(fifth, (name, shift))| {
            let name = format_ident!("{name}");
            let rows = self.field(quote!(#name), shift);
            let store = w.store(at("out", fifth * self.spec.isa.vector_bytes()), rows);
            quote!(#store;)
        });
        quote! {
            let codes = #codes;
            #fields
            #(#stores)*
        }
    }

    /// `let <column> = 1 + plus - minus;` of the bits at two places of bytes.
    fn column_of_bits(&self, col: usize, plus: (&str, u32), minus: (&str, u32)) -> TokenStream {
        let w = self.words;
        let [plus, minus] = [plus, minus].map(|(plane, place)| {
            let plane = format_ident!("{plane}");
            w.byte_bits(quote!(#plane), place, 1, quote!(one))
        });
        let (name, value) = (column(col), w.sub(8, w.add(8, quote!(one), plus), minus));
        quote!(let #name = #value;)
    }

    /// Four columns of a byte: "plus" bits in the low nibble, "minus" bits in the high one.
    fn step_s4(&self) -> TokenStream {
        let (one, codes) = (self.words.splat8(1), self.words.load(quote!(weights)));
        let columns = (0..4).map(|col| {
            let place = col as u32;
            self.column_of_bits(col, ("codes", place), ("codes", place + 4))
        });
        quote! {
            let (one, codes) = (#one, #codes);
            #(#columns)*
        }
    }

    /// Eight columns of two bit planes: `u = 1 + plus - minus`.
    fn step_planes(&self) -> TokenStream {
        let w = self.words;
        let (plus, minus) = (
            w.load(quote!(weights)),
            w.load(at("weights", self.spec.lanes())),
        );
        let columns = (0..8).map(|col| {
            let place = 7 - col as u32;
            self.column_of_bits(col, ("plus", place), ("minus", place))
        });
        let one = w.splat8(1);
        quote! {
            let one = #one;
            let (plus, minus) = (#plus, #minus);
            #(#columns)*
        }
    }

    /// The vector of codes of step `step` of a period, or nothing but zero bits where the run has ended.
    fn codes(&self, step: usize) -> TokenStream {
        let load = self.words.load(strided("weights", step, "step_stride"));
        let (zero, step_written) = (self.words.zero(), number(step));
        match step {
            0 => load,
            _ => quote!(if left > #step_written { #load } else { #zero }),
        }
    }

    /// Five columns of step `step` of a period.
    fn step_t5(&self, step: usize) -> TokenStream {
        let codes = self.codes(step);
        let columns = (0..5).map(|i| column(5 * step + i));
        quote!(let [#(#columns),*] = trits(#codes);)
    }

    /// `let trits = |codes| { … };`: the five columns of a byte, whose magnitude indexes the tables.
    fn trits_t5(&self) -> TokenStream {
        let w = self.words;
        let (negative, magnitude) = (
            w.spread_highest_bit(quote!(codes)),
            w.and(quote!(codes), w.splat8(0x7f)),
        );
        let vectors = |name: &str| -> Vec<TokenStream> {
            let count = 128usize.div_ceil(w.table_bytes());
            let vectors = (0..count).map(|i| ident(name, i));
            vectors.map(|vector| quote!(#vector)).collect()
        };
        let first = w.lookup(&vectors("first"), quote!(magnitude));
        let last = w.lookup(&vectors("last"), quote!(magnitude));
        let (first, last) = (self.negate(first, 0b1010_1010), self.negate(last, 0b10));
        let fields = (0..4).map(|i| self.field(quote!(first), 2 * i));
        let vector = w.vector();
        quote! {
            let trits = |codes: #vector| {
                let (negative, magnitude) = (#negative, #magnitude);
                let (first, last) = (#first, #last);
                [#(#fields,)* last]
            };
        }
    }

    /// 24 columns: eight nibbles of magnitude and a byte of signs, the first group in the highest bit.
    fn step_t3(&self) -> TokenStream {
        let w = self.words;
        let signs = w.load(at("weights", 4 * self.spec.lanes()));
        let groups = (0..8usize).map(|group| {
            let codes = w.load(at("weights", group / 2 * self.spec.lanes()));
            let place = 4 * (group % 2) as u32;
            let magnitude = w.byte_bits(quote!(codes), place, 0x0f, w.splat8(0x0f));
            let negative = w.spread_highest_bit(quote!(signs));
            let trits = self.negate(w.lookup(&[quote!(trits0)], quote!(magnitude)), 0b10_1010);
            let columns = self.columns_of_fields(3 * group, 3);
            let load = (group % 2 == 0).then(|| quote!(let codes = #codes;));
            let next = (group < 7).then(|| {
                let doubled = w.add(8, quote!(signs), quote!(signs));
                quote!(let signs = #doubled;)
            });
            quote! {
                #load
                let (negative, magnitude) = (#negative, #magnitude);
                let trits = #trits;
                #columns
                #next
            }
        });
        quote! {
            let signs = #signs;
            #(#groups)*
        }
    }

    /// 28 columns: eight 6-bit codes of three trits and a bit; two codes share the trit between them, `b - c`.
    fn step_t7(&self) -> TokenStream {
        let w = self.words;
        let halves = (0..2usize).map(|half| {
            let loads = (0..3usize).map(|i| {
                let name = ident("codes", i);
                let load = w.load(at("weights", (3 * half + i) * self.spec.lanes()));
                quote!(let #name = #load;)
            });
            // The fourth code rides in the two high bits of the other three.
            let parts = [(0, 6, 3), (1, 4, 12), (2, 2, 48)].map(|(i, shift, mask)| {
                let codes = ident("codes", i);
                w.and(w.shift_right(16, quote!(#codes), shift), w.splat8(mask))
            });
            let [a, b, c] = parts;
            let fourth = w.add(8, w.add(8, a, b), c);
            let pairs = (0..2usize).map(|pair| {
                let start = 14 * half + 7 * pair;
                let trits = [0, 1].map(|i| {
                    let codes = ident("codes", 2 * pair + i);
                    w.lookup(&[quote!(trits0)], w.and(quote!(#codes), w.splat8(0x3f)))
                });
                let [first, second] = trits;
                let columns = (0..7usize).map(|i| {
                    let value = match i {
                        0..3 => self.field(quote!(first), 2 * i as u32),
                        3 => {
                            let plus = w.add(8, w.splat8(1), self.field(quote!(first), 6));
                            w.sub(8, plus, self.field(quote!(second), 6))
                        }
                        _ => self.field(quote!(second), 2 * (i as u32 - 4)),
                    };
                    let name = column(start + i);
                    quote!(let #name = #value;)
                });
                quote! {
                    let (first, second) = (#first, #second);
                    #(#columns)*
                }
            });
            quote! {
                #(#loads)*
                let codes3 = #fourth;
                #(#pairs)*
            }
        });
        quote!(#(#halves)*)
    }

    /// A table of 32 words, which hold the trits of a code of five bits in two bits each.
    fn table_w3(&self) -> TokenStream {
        let (load, size) = (
            self.words.load(quote!(TRITS.as_ptr().cast::<u8>())),
            number(32),
        );
        quote! {
            const TRITS: [u16; #size] = {
                let (mut entries, mut n) = ([0; #size], 0);
                while n < 27 {
                    entries[n] = (n / 9 % 3 + n / 3 % 3 * 4 + n % 3 * 16) as u16;
                    n += 1;
                }
                entries
            };
            let table = #load;
        }
    }

    /// What takes a word of three codes apart: `let trits = |codes| { … };`.
    fn trits_w3(&self) -> TokenStream {
        let (w, vector) = (self.words, self.words.vector());
        let groups = (0..3).map(|group| {
            let index = match group {
                0 => quote!(codes),
                _ => w.shift_right(16, quote!(codes), 5 * group),
            };
            let (name, found) = (
                ident("three", group as usize),
                w.lookup16(quote!(table), index),
            );
            quote!(let #name = #found;)
        });
        let columns = (0..9u32).map(|i| {
            let three = ident("three", i as usize / 3);
            let shifted = match i % 3 {
                0 => quote!(#three),
                _ => w.shift_right(16, quote!(#three), 2 * (i % 3)),
            };
            w.and(shifted, w.splat16(quote!(3)))
        });
        quote! {
            let trits = |codes: #vector| {
                #(#groups)*
                [#(#columns),*]
            };
        }
    }

    /// [`Unpack::transpose`] for columns of 16-bit words: two rows share a 32-bit lane, half the panel apart.
    fn transpose_words(&self) -> TokenStream {
        let w = self.words;
        let (vector, low) = (w.vector(), w.splat32(quote!(0x0000_ffff)));
        let pair = |a, b| w.add(16, a, w.shift_left(16, b, 8));
        let (ab, cd) = (pair(quote!(a), quote!(b)), pair(quote!(c), quote!(d)));
        let up = w.shift_left(32, quote!(cd), 16);
        let down = w.shift_right(32, quote!(ab), 16);
        let first = w.store(quote!(out), w.merge_bits(quote!(low), quote!(ab), up));
        let second = w.store(
            at("out", 2 * self.spec.lanes()),
            w.merge_bits(quote!(low), down, quote!(cd)),
        );
        let note = comment(
            "Pairs columns in 16-bit lanes, then in 32-bit lanes: four columns become the quads of both halves of the rows.",
        );
        quote! {
            #note
            let low = #low;
            let store_quad = |[a, b, c, d]: [#vector; 4], out: *mut u8| {
                let (ab, cd) = (#ab, #cd);
                #first;
                #second;
            };
        }
    }

    /// Nine columns of step `step` of a period.
    fn step_w3(&self, step: usize) -> TokenStream {
        let codes = self.codes(step);
        let columns = (0..9).map(|i| column(9 * step + i));
        quote!(let [#(#columns),*] = trits(#codes);)
    }
}

/// The vector of a column's bytes.
fn column(index: usize) -> Ident {
    ident("column", index)
}
