//! Access lists of named pipes: which users may open them.

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;

/// The owner of what this process makes, administrators, and the system.
const DEFAULT: &str = "D:P(A;;GA;;;OW)(A;;GA;;;SY)(A;;GA;;;BA)";

/// A security descriptor.
#[derive(Debug)]
pub(super) struct Access(NonNull<c_void>);

impl Access {
    /// Reads a description of a security descriptor, or the default.
    pub(super) fn parse(description: Option<&str>) -> io::Result<Access> {
        let text = description.unwrap_or(DEFAULT);
        let wide: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let mut descriptor = ptr::null_mut();
        // SAFETY: the text is zero-terminated, and the call writes the pointer within its size. A null pointer does not
        // ask for the descriptor's size.
        let converted = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                wide.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        };
        match NonNull::new(descriptor) {
            Some(descriptor) if converted != 0 => Ok(Access(descriptor)),
            _ => Err(unreadable(text, &io::Error::last_os_error())),
        }
    }

    /// The attributes of an object with this descriptor. They are valid as long as this is; children do not inherit the
    /// object.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        let size = u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).expect("attributes are small");
        SECURITY_ATTRIBUTES {
            nLength: size,
            lpSecurityDescriptor: self.0.as_ptr(),
            bInheritHandle: 0,
        }
    }
}

fn unreadable(text: &str, error: &io::Error) -> io::Error {
    let message = format!("{text:?} does not describe who may open a pipe: {error}");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

impl Drop for Access {
    fn drop(&mut self) {
        // SAFETY: the conversion allocated this memory with `LocalAlloc`, and nothing else owns it.
        unsafe { LocalFree(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::Access;
    use std::io::ErrorKind;

    #[test]
    fn the_default_and_other_descriptions_are_read() {
        for text in [
            None,
            Some("D:P(A;;0x12019b;;;AU)"),
            Some("O:BAG:BAD:(A;;GA;;;WD)"),
        ] {
            assert!(Access::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn what_describes_nothing_is_refused_and_quoted() {
        for text in ["everybody", "D:(A;;GA)", "D:P(A;;GA;;;NOBODY)"] {
            let error = Access::parse(Some(text)).expect_err("it is no description");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
}
