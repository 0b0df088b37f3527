using System.Globalization;
using System.Text.Json.Nodes;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace WandbLaunch.Foundation;

/// <summary>
/// The one reader of YAML. It builds JSON from the parser's events, and counts before it builds: a tree that is made
/// first, as YamlStream's is, has already overflowed the stack (20,000 levels, an alias to its own parent) or filled the
/// memory (aliases of aliases).
/// </summary>
internal static class SafeYaml
{
    // Its parser takes ten times as long as that of JSON.
    private const int MaxNodes = 100_000;

    /// <summary>Reads the first document; null where there is none.</summary>
    /// <param name="text">The document.</param>
    /// <param name="where">Names the document in the error.</param>
    /// <param name="errorId">Id of the error.</param>
    /// <exception cref="LaunchException">It is no YAML, has no counterpart in JSON, or is too much.</exception>
    internal static JsonNode? Read(string text, string where, string errorId = "YamlInvalid")
    {
        var limits = new TreeLimits(where, errorId, maxNodes: MaxNodes);
        limits.CheckLength(text.Length);
        try
        {
            return new Reader(limits).Read(new Parser(new StringReader(text)));
        }
        catch (YamlException e)
        {
            throw limits.Fault(e.Message, e);
        }
        catch (Exception e)
            when (e
                    is ArgumentException
                        or InvalidOperationException
                        or FormatException
                        or OverflowException
                        or IndexOutOfRangeException
            )
        {
            // What the scanner of YamlDotNet itself throws for some texts that are no YAML.
            throw limits.Fault($"it is not YAML ({e.Message})", e);
        }
    }

    /// <summary>A file, which is not opened further than a document may be long.</summary>
    internal static JsonNode? ReadFile(string path, string errorId = "YamlInvalid")
    {
        new TreeLimits(path, errorId).CheckLength(new FileInfo(path).Length);
        return Read(File.ReadAllText(path), path, errorId);
    }

    private sealed class Reader(TreeLimits limits)
    {
        // A map or list that is being filled; Key is the name that waits for its value.
        private sealed record Open(JsonNode Node, AnchorName Anchor)
        {
            internal string? Key { get; set; }
        }

        private readonly Stack<Open> _open = new();
        private readonly Dictionary<AnchorName, JsonNode?> _anchors = [];
        private JsonNode? _first;
        private bool _found;

        internal JsonNode? Read(Parser parser)
        {
            while (parser.MoveNext())
            {
                switch (parser.Current)
                {
                    case DocumentStart:
                        _anchors.Clear();
                        break;
                    case Scalar scalar:
                        limits.Add(_open.Count, scalar.Value.Length);
                        if (WantsKey)
                        {
                            NameKey(scalar.Value);
                            Remember(scalar.Anchor, JsonValue.Create(scalar.Value));
                        }
                        else
                        {
                            var value = Value(scalar);
                            Remember(scalar.Anchor, value);
                            Put(value);
                        }

                        break;
                    case AnchorAlias alias:
                        PutAlias(alias);
                        break;
                    case MappingStart map:
                        Begin(new JsonObject(), map);
                        break;
                    case SequenceStart list:
                        Begin(new JsonArray(), list);
                        break;
                    case MappingEnd or SequenceEnd:
                        var done = _open.Pop();
                        Remember(done.Anchor, done.Node);
                        Put(done.Node);
                        break;
                }
            }

            return _first;
        }

        private bool WantsKey => _open.TryPeek(out var parent) && parent is { Node: JsonObject, Key: null };

        private void Begin(JsonNode node, NodeEvent start)
        {
            if (WantsKey)
            {
                throw limits.Fault(
                    $"line {start.Start.Line} has a map or a list as a key. Only text can be the name of a value"
                );
            }

            limits.Add(_open.Count + 1);
            _open.Push(new Open(node, start.Anchor));
        }

        private void NameKey(string name)
        {
            var parent = _open.Peek();
            if (((JsonObject)parent.Node).ContainsKey(name))
            {
                throw limits.Fault(
                    $"the key '{(name.Length > 60 ? name[..60] + "…" : name)}' stands there twice, and it is not clear which is meant"
                );
            }

            parent.Key = name;
        }

        private void PutAlias(AnchorAlias alias)
        {
            if (_open.Any(o => o.Anchor == alias.Value))
            {
                throw limits.Fault(
                    $"the alias *{alias.Value} in line {alias.Start.Line} stands inside of what it names"
                );
            }

            if (!_anchors.TryGetValue(alias.Value, out var named))
            {
                throw limits.Fault($"nothing is named &{alias.Value}, which line {alias.Start.Line} asks for");
            }

            if (WantsKey)
            {
                limits.Add(_open.Count);
                NameKey(
                    named is null or JsonValue
                        ? named?.ToString() ?? ""
                        : throw limits.Fault($"line {alias.Start.Line} has a map or a list as a key")
                );
                return;
            }

            Put(Copy(named, _open.Count));
        }

        // A copy is paid for like any other value: aliases of aliases end at the limit.
        private JsonNode? Copy(JsonNode? node, int depth)
        {
            switch (node)
            {
                case JsonObject map:
                    limits.Add(depth + 1);
                    var copy = new JsonObject();
                    foreach (var (key, value) in map)
                    {
                        limits.Add(depth + 1, key.Length);
                        copy[key] = Copy(value, depth + 1);
                    }

                    return copy;
                case JsonArray list:
                    limits.Add(depth + 1);
                    var items = new JsonArray();
                    foreach (var item in list)
                    {
                        items.Add(Copy(item, depth + 1));
                    }

                    return items;
                case JsonValue value:
                    limits.Add(depth, value.TryGetValue<string>(out var text) ? text.Length : 0);
                    return value.DeepClone();
                default:
                    limits.Add(depth);
                    return null;
            }
        }

        private void Remember(AnchorName anchor, JsonNode? node)
        {
            if (!anchor.IsEmpty)
            {
                _anchors[anchor] = node;
            }
        }

        private void Put(JsonNode? node)
        {
            if (!_open.TryPeek(out var parent))
            {
                if (!_found)
                {
                    (_first, _found) = (node, true);
                }
            }
            else if (parent.Node is JsonArray list)
            {
                list.Add(node);
            }
            else
            {
                ((JsonObject)parent.Node)[parent.Key!] = node;
                parent.Key = null;
            }
        }
    }

    // YAML 1.2 core schema.
    private static JsonValue? Value(Scalar scalar) =>
        scalar.Style != ScalarStyle.Plain || (!scalar.Tag.IsEmpty && scalar.Tag.Value == "tag:yaml.org,2002:str")
            ? JsonValue.Create(scalar.Value)
            : scalar.Value switch
            {
                "" or "~" or "null" or "Null" or "NULL" => null,
                "true" or "True" or "TRUE" => JsonValue.Create(true),
                "false" or "False" or "FALSE" => JsonValue.Create(false),
                var text
                    when long.TryParse(
                        text,
                        NumberStyles.AllowLeadingSign,
                        CultureInfo.InvariantCulture,
                        out var whole
                    ) => JsonValue.Create(whole),
                // JSON has no number for what does not fit into a double.
                var text
                    when double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var real)
                        && char.IsDigit(text[^1])
                        && double.IsFinite(real) => JsonValue.Create(real),
                var text => JsonValue.Create(text),
            };
}
