/* A program that embeds Python: it runs each of its arguments in an interpreter of its own, one after another. */

#include <stddef.h>

/* Python's own headers are often not installed. */
void Py_InitializeEx(int install_signal_handlers);
int PyRun_SimpleStringFlags(const char *code, void *flags);
int Py_FinalizeEx(void);

int main(int count, char **codes) {
    for (int at = 1; at < count; at++) {
        Py_InitializeEx(0);
        if (PyRun_SimpleStringFlags(codes[at], NULL) != 0 || Py_FinalizeEx() != 0) {
            return 1;
        }
    }
    return 5;
}
