/* Wine before 9 has no bcryptprimitives.dll, from which Rust's standard library takes its randomness.
 * This is the one function it imports, made of the older call that Wine does have. */
#include <windows.h>

/* advapi32's RtlGenRandom, exported under this name only. */
BOOLEAN NTAPI SystemFunction036(PVOID bytes, ULONG count);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) {
  const SIZE_T at_once = 1 << 20; /* the count of the older call has 32 bits */
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
