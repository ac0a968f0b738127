/* A C extension of Python that forgets what malloc gave: imagecodec.decode(BYTES). */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>

static PyObject *decode(PyObject *self, PyObject *size) {
    (void)self;
    size_t bytes = PyLong_AsSize_t(size);
    if (PyErr_Occurred()) return NULL;
    char *image = malloc(bytes);
    if (image == NULL) return PyErr_NoMemory();
    memset(image, 1, bytes);
    return PyLong_FromLong(image[bytes / 2]);
}

static PyMethodDef methods[] = {{"decode", decode, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "imagecodec", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_imagecodec(void) { return PyModule_Create(&module); }
