/* Rust's standard library takes its randomness from bcryptprimitives.dll, which Wine before version 9 lacks.
 * This implements the one function that it imports, by an older function that Wine has. */
#include <windows.h>

/* RtlGenRandom, which advapi32 exports only under this name. */
BOOLEAN NTAPI SystemFunction036(PVOID bytes, ULONG count);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) {
  const SIZE_T at_once = 1 << 20; /* the older function takes a count of 32 bits */
  while (count > 0) {
    ULONG part = (ULONG)(count < at_once ? count : at_once);
    if (!SystemFunction036(bytes, part)) {
      return FALSE;
    }
    bytes += part;
    count -= part;
  }
  return TRUE;
}
