// Files beside a model.
#pragma once

#include <string>

#include "api/ort_api.h"

namespace fastep {

// Of the file that the graph's model was read from; empty if it came from memory.
std::string ModelPath(Ort::ConstGraph graph);

// The part of a path up to its last slash: "a/b.onnx" -> "a/", "b.onnx" -> "./".
std::string FolderOf(const std::string& path);

// True if a location that a model names is relative and does not lead out of the model's folder.
bool StaysInside(const std::string& location);

}  // namespace fastep
