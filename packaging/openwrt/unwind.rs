//! What the standard library asks of an unwinder, for programs that never unwind: there is nothing above.
#![feature(no_core, lang_items)]
#![no_core]
#![allow(internal_features, missing_docs)]

#[lang = "pointee_sized"]
trait PointeeSized {}
#[lang = "meta_sized"]
trait MetaSized: PointeeSized {}
#[lang = "sized"]
trait Sized: MetaSized {}
#[lang = "copy"]
trait Copy {}
impl Copy for i32 {}
impl Copy for usize {}

/// `_URC_END_OF_STACK`.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace() -> i32 {
    5
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetIP() -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetCFA() -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_FindEnclosingFunction() -> usize {
    0
}
