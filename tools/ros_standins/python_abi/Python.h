// SPDX-License-Identifier: Apache-2.0
// The functions of Python's stable ABI that rosidl's generated type support calls, declared by hand for machines
// without python3-dev. Names, types and layouts are those every CPython from 3.10 on keeps (PEP 384).
#ifndef LHMAP_PYTHON_ABI_H
#define LHMAP_PYTHON_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef ssize_t Py_ssize_t;
typedef struct _object PyObject;
typedef PyObject * (*PyCFunction)(PyObject *, PyObject *);
typedef void (*PyCapsule_Destructor)(PyObject *);

struct _object { Py_ssize_t ob_refcnt; void * ob_type; };
typedef struct { const char * ml_name; PyCFunction ml_meth; int ml_flags; const char * ml_doc; } PyMethodDef;
typedef struct { PyObject ob_base; PyObject * (*m_init)(void); Py_ssize_t m_index; PyObject * m_copy; } PyModuleDef_Base;
struct PyModuleDef {
  PyModuleDef_Base m_base;
  const char * m_name;
  const char * m_doc;
  Py_ssize_t m_size;
  PyMethodDef * m_methods;
  void * m_slots;
  void * m_traverse;
  void * m_clear;
  void * m_free;
};
#define PyModuleDef_HEAD_INIT {{1, NULL}, NULL, 0, NULL}
#define PyMODINIT_FUNC __attribute__((visibility("default"))) PyObject *

extern PyObject * PyExc_RuntimeError;
void Py_IncRef(PyObject *);
void Py_DecRef(PyObject *);
PyObject * PyObject_GetAttrString(PyObject *, const char *);
int PyObject_SetAttrString(PyObject *, const char *, PyObject *);
PyObject * PyObject_CallObject(PyObject *, PyObject *);
PyObject * PyImport_ImportModule(const char *);
const char * PyUnicode_AsUTF8AndSize(PyObject *, Py_ssize_t *);
PyObject * PySequence_Fast(PyObject *, const char *);
Py_ssize_t PySequence_Size(PyObject *);
PyObject * PySequence_GetItem(PyObject *, Py_ssize_t);
int PySequence_Check(PyObject *);
PyObject * PyList_New(Py_ssize_t);
int PyList_SetItem(PyObject *, Py_ssize_t, PyObject *);
void PyErr_SetString(PyObject *, const char *);
PyObject * PyCapsule_New(void *, const char *, PyCapsule_Destructor);
int PyModule_AddObject(PyObject *, const char *, PyObject *);
PyObject * PyModule_Create2(struct PyModuleDef *, int);

// PYTHON_ABI_VERSION of the stable ABI
#define PyModule_Create(module) PyModule_Create2(module, 3)
#define Py_DECREF(o) Py_DecRef((PyObject *)(o))
#define Py_XDECREF(o) Py_DecRef((PyObject *)(o))
#define PyUnicode_1BYTE_DATA(o) PyUnicode_AsUTF8AndSize(o, NULL)

// the sequence keeps the item alive, so it may be handed out as borrowed
static inline PyObject * PySequence_Fast_GET_ITEM(PyObject * sequence, Py_ssize_t index)
{
  PyObject * item = PySequence_GetItem(sequence, index);
  Py_DecRef(item);
  return item;
}

#ifdef __cplusplus
}
#endif

#endif
