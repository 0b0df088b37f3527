using System.Text;
using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Sources;

/// <summary>Turns a notebook into the script that its code cells make (protocol D.2, step 7).</summary>
internal static class Notebook
{
    internal static string ToScript(byte[] notebook, string name)
    {
        try
        {
            using var document = JsonDocument.Parse(notebook);
            var script = new StringBuilder();
            foreach (var cell in document.RootElement.Items("cells").Where(c => c.Text("cell_type") == "code"))
            {
                var source = cell.At("source") is { ValueKind: JsonValueKind.Array } lines
                    ? string.Concat(
                        lines.EnumerateArray().Select(l => l.ValueKind == JsonValueKind.String ? l.GetString() : "")
                    )
                    : cell.Text("source") ?? "";
                var magicCell = source.StartsWith("%%", StringComparison.Ordinal);
                foreach (var line in source.Split('\n'))
                {
                    var text = line.TrimStart();
                    script
                        .Append(
                            magicCell || text.StartsWith('%') || text.StartsWith('!')
                                ? line[..(line.Length - text.Length)] + "pass  # " + text
                                : line
                        )
                        .Append('\n');
                }

                script.Append('\n');
            }

            return script.ToString();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new LaunchException(
                "NotebookInvalid",
                LaunchErrorCategory.InvalidData,
                $"The notebook {name} cannot be read: it is broken{Line(e)}.",
                name,
                e
            );
        }
    }

    /// <summary>Where a JSON file is broken: the line, and never what stands there.</summary>
    internal static string Line(Exception e) =>
        e is JsonException { LineNumber: { } line }
            ? " in line " + (line + 1).ToString(System.Globalization.CultureInfo.InvariantCulture)
            : "";
}
