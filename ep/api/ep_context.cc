#include "api/ep_context.h"

#include <array>
#include <climits>
#include <utility>
#include <vector>

#include "api/model_folder.h"
#include "core/error.h"
#include "core/mapped_file.h"

namespace fastep {
namespace {

constexpr const char* kContextDomain = "com.microsoft";
constexpr const char* kContextOp = "EPContext";
constexpr const char* kContent = "ep_cache_context";
constexpr const char* kEmbed = "embed_mode";
constexpr const char* kPartition = "partition_name";
constexpr const char* kSource = "source";

std::vector<std::string> NamesOf(const std::vector<Ort::ConstValueInfo>& values) {
  std::vector<std::string> names;
  for (const Ort::ConstValueInfo& value : values) names.push_back(value ? value.GetName() : "");
  return names;
}

// An attribute on its way into a node.
class Attribute {
 public:
  Attribute(const char* name, const std::string& text) { Create(name, text.data(), text.size(), ORT_OP_ATTR_STRING); }
  Attribute(const char* name, int64_t value) { Create(name, &value, 1, ORT_OP_ATTR_INT); }
  OrtOpAttr* Release() { return std::exchange(attribute_, nullptr); }
  ~Attribute() {
    if (attribute_ != nullptr) Api().ReleaseOpAttr(attribute_);
  }
  Attribute(const Attribute&) = delete;
  Attribute& operator=(const Attribute&) = delete;

 private:
  void Create(const char* name, const void* data, size_t size, OrtOpAttrType type) {
    if (size > INT_MAX) {
      throw Error(std::string("attribute '") + name + "': a compiled plan of " + std::to_string(size) +
                  " bytes cannot stand in a model; set ep.context_embed_mode to 0");
    }
    Ort::ThrowOnError(Api().CreateOpAttr(name, data, static_cast<int>(size), type, &attribute_));
  }
  OrtOpAttr* attribute_ = nullptr;
};

OrtNode* MakeContextNode(Ort::ConstNode fused, const std::string& content, bool embed) {
  const std::string name = fused.GetName();
  const std::vector<std::string> inputs = NamesOf(fused.GetInputs()), outputs = NamesOf(fused.GetOutputs());
  std::vector<const char*> input_names, output_names;
  for (const std::string& input : inputs) input_names.push_back(input.c_str());
  for (const std::string& output : outputs) output_names.push_back(output.c_str());
  Attribute content_attribute(kContent, content), source(kSource, std::string(kEpName)), partition(kPartition, name);
  Attribute version("ep_sdk_version", std::string(FASTEP_VERSION)), main("main_context", int64_t{1});
  Attribute embed_mode(kEmbed, int64_t{embed ? 1 : 0});
  // The node owns them from here on, whether or not it is created.
  std::array<OrtOpAttr*, 6> attributes = {content_attribute.Release(), source.Release(), partition.Release(),
                                          version.Release(),           main.Release(),   embed_mode.Release()};
  OrtNode* node = nullptr;
  Ort::ThrowOnError(Api().GetModelEditorApi()->CreateNode(kContextOp, kContextDomain, name.c_str(), input_names.data(),
                                                          input_names.size(), output_names.data(), output_names.size(),
                                                          attributes.data(), attributes.size(), &node));
  return node;
}

Ort::ConstOpAttr Find(Ort::ConstNode node, const char* name, OrtOpAttrType type) {
  Ort::ConstOpAttr attribute;
  const Ort::Status status = node.GetAttributeByName(name, attribute);
  if (status.IsOK() && attribute && attribute.GetType() == type) return attribute;
  throw Error("node '" + node.GetName() + "' (EPContext): expected the attribute '" + name +
              "', found none of its type; compile the model again: fastep compile");
}

// On a cache line, as plans read it.
AlignedVector<uint8_t> ReadBytes(const OrtOpAttr* attribute) {
  size_t size = 0;
  const Ort::Status sized(Api().ReadOpAttr(attribute, ORT_OP_ATTR_STRING, nullptr, 0, &size));
  AlignedVector<uint8_t> bytes(size);
  Ort::ThrowOnError(Api().ReadOpAttr(attribute, ORT_OP_ATTR_STRING, bytes.data(), bytes.size(), &size));
  bytes.resize(size);
  return bytes;
}

std::string ReadText(Ort::ConstNode node, const char* name) {
  const AlignedVector<uint8_t> bytes = ReadBytes(Find(node, name, ORT_OP_ATTR_STRING));
  return std::string(bytes.begin(), bytes.end());
}

std::shared_ptr<const MappedFile> OpenPlans(const std::string& model, const std::string& name) {
  try {
    return MappedFile::Open(FolderOf(model) + name);
  } catch (const Error& error) {
    throw Error(std::string(error.what()) + "; compiled model '" + model +
                "' needs it: keep both in one folder, or compile the converted model again");
  }
}

}  // namespace

ContextOptions ParseContextOptions(const ConfigEntries& entries) {
  ContextOptions options;
  for (const auto& [key, value] : entries) {
    if (key == "ep.context_enable") options.enable = value == "1";
    if (key == "ep.context_embed_mode") options.embed = value == "1";
    if (key == "ep.context_file_path") options.model_path = value;
  }
  return options;
}

bool IsContextNode(Ort::ConstNode node) {
  if (node.GetOperatorType() != kContextOp || node.GetDomain() != kContextDomain) return false;
  Ort::ConstOpAttr source;
  const Ort::Status status = node.GetAttributeByName(kSource, source);
  return status.IsOK() && source && source.GetType() == ORT_OP_ATTR_STRING && ReadText(node, kSource) == kEpName;
}

std::string ContextWriter::FilePath(Ort::ConstGraph graph) const {
  const std::string given = options_.model_path.empty() ? ModelPath(graph) : options_.model_path;
  if (given.empty()) {
    throw Error(
        "a compiled model in memory has no place for the file of its plans; set ep.context_file_path, or "
        "ep.context_embed_mode to 1");
  }
  const size_t dot = given.rfind('.');
  const std::string stem = dot == std::string::npos || dot < given.rfind('/') + 1 ? given : given.substr(0, dot);
  return stem + (options_.model_path.empty() ? "_ctx" : "") + "_fastep.bin";
}

OrtNode* ContextWriter::Write(Ort::ConstGraph graph, Ort::ConstNode fused, const PlanRecord& record, Tier tier) {
  ArchiveWriter archive;
  archive(fused.GetName(), record);
  const PlanBlob blob(archive, tier);
  if (options_.embed) {
    std::string content;
    content.reserve(blob.bytes());
    blob.Write([&](const void* data, size_t bytes) { content.append(static_cast<const char*>(data), bytes); });
    return MakeContextNode(fused, content, true);
  }
  if (file_ == nullptr) file_ = std::make_unique<ContextFile>(FilePath(graph));
  file_->Append(blob);
  return MakeContextNode(fused, file_->path().substr(file_->path().rfind('/') + 1), false);
}

void ContextWriter::Commit() {
  if (file_ != nullptr) file_->Commit();
}

ContextContent ReadContext(Ort::ConstGraph graph, Ort::ConstNode node, const std::string& model_path) {
  ContextContent content;
  content.partition = ReadText(node, kPartition);
  int64_t embed = 0;
  Ort::ThrowOnError(Find(node, kEmbed, ORT_OP_ATTR_INT).GetValue(embed).release());
  const std::string path = ModelPath(graph).empty() ? model_path : ModelPath(graph);
  content.source.where = "compiled model '" + path + "'";
  if (embed != 0) {
    const SharedArray<uint8_t> bytes(ReadBytes(Find(node, kContent, ORT_OP_ATTR_STRING)));
    content.source.bytes = {bytes.data(), bytes.size()};
    content.source.owner = bytes.owner();
    return content;
  }
  const std::string name = ReadText(node, kContent);
  if (path.empty() || !StaysInside(name)) {
    throw Error(content.source.where + ": expected a file of plans beside the model, found the location '" + name +
                "'; open the model by its path, or say where it lies with ep.context_file_path");
  }
  const std::shared_ptr<const MappedFile> file = OpenPlans(path, name);
  content.source.where = "compiled model '" + path + "', plans '" + name + "'";
  content.source.bytes = {file->data(), file->size()};
  content.source.owner = file;
  content.source.file = file.get();
  return content;
}

}  // namespace fastep
