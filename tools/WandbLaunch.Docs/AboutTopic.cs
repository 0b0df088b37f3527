using System.Text;

namespace WandbLaunch.Docs;

/// <summary>Turns a page about_….md into the text that Get-Help shows: headings at the margin, the rest indented and wrapped.</summary>
public static class AboutTopic
{
    private const int Width = 80;

    /// <summary>The pages of a tree, each with the help file that is made of it.</summary>
    public static IEnumerable<(string Path, string Content)> All(string root) =>
        Directory
            .EnumerateFiles(Path.Combine(root, "docs"), "about_*.md")
            .Order(StringComparer.Ordinal)
            .Select(page =>
            {
                var name = Path.GetFileNameWithoutExtension(page);
                return (
                    $"src/WandbLaunch.PowerShell/en-US/{name}.help.txt",
                    ToHelp(name, File.ReadAllText(page).ReplaceLineEndings("\n"))
                );
            });

    /// <summary>The first paragraph is the short description; every other heading stays one.</summary>
    public static string ToHelp(string name, string page)
    {
        var text = new StringBuilder($"TOPIC\n    {name}\n");
        var paragraph = new List<string>();
        var code = false;
        var described = false;
        foreach (var line in page.Split('\n').Append(""))
        {
            if (line.StartsWith("```", StringComparison.Ordinal))
            {
                EndParagraph();
                code = !code;
                text.Append(code ? "\n" : "");
            }
            else if (code)
            {
                text.Append("    ").Append(line).Append('\n');
            }
            else if (line.StartsWith("# ", StringComparison.Ordinal))
            {
                text.Append("\nSHORT DESCRIPTION\n");
            }
            else if (line.StartsWith('#'))
            {
                EndParagraph();
                text.Append('\n').Append(Plain(line.TrimStart('#', ' ')).ToUpperInvariant()).Append('\n');
            }
            else if (line.Length == 0)
            {
                EndParagraph();
            }
            else if (line.StartsWith("- ", StringComparison.Ordinal))
            {
                EndParagraph();
                paragraph.Add(line);
            }
            else if (line.StartsWith('|'))
            {
                EndParagraph();
                if (
                    !line.StartsWith("|--", StringComparison.Ordinal)
                    && !line.StartsWith("| --", StringComparison.Ordinal)
                )
                {
                    // A row of a table is a paragraph: what stands on a narrow screen is still read.
                    paragraph.Add(string.Join(" — ", line.Trim('|', ' ').Split(" | ").Select(c => c.Trim())));
                    EndParagraph();
                }
            }
            else
            {
                paragraph.Add(line.Trim());
            }
        }

        return text.ToString();

        void EndParagraph()
        {
            if (paragraph.Count == 0)
            {
                return;
            }

            var item = paragraph[0].StartsWith("- ", StringComparison.Ordinal);
            Wrap(Plain(string.Join(' ', paragraph)), item ? "      " : "    ");
            if (!described)
            {
                described = true;
                text.Append("\nLONG DESCRIPTION\n");
            }

            paragraph.Clear();
        }

        void Wrap(string words, string indent)
        {
            var at = 0;
            text.Append('\n');
            foreach (var word in words.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            {
                if (at > 0 && at + 1 + word.Length > Width)
                {
                    text.Append('\n');
                    at = 0;
                }

                var lead = at == 0 ? (word == "-" ? "    " : indent) : " ";
                text.Append(lead).Append(word);
                at += lead.Length + word.Length;
            }

            text.Append('\n');
        }
    }

    private static string Plain(string text) =>
        text.Replace("**", "", StringComparison.Ordinal).Replace("`", "", StringComparison.Ordinal);
}
