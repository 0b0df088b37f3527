using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>Splits a command text into words as a shell would, without running one.</summary>
internal static class CommandLine
{
    internal static string[] Split(string text)
    {
        var words = new List<string>();
        var word = new System.Text.StringBuilder();
        var open = false;
        char quote = '\0';
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (quote != '\0')
            {
                if (c == quote)
                {
                    quote = '\0';
                }
                else if (c == '\\' && quote == '"' && i + 1 < text.Length && text[i + 1] is '"' or '\\')
                {
                    word.Append(text[++i]);
                }
                else
                {
                    word.Append(c);
                }
            }
            else if (c is '"' or '\'')
            {
                quote = c;
                open = true;
            }
            else if (char.IsWhiteSpace(c))
            {
                if (open || word.Length > 0)
                {
                    words.Add(word.ToString());
                    word.Clear();
                    open = false;
                }
            }
            else
            {
                word.Append(c);
            }
        }

        if (quote != '\0')
        {
            throw new LaunchException(
                "EntryPointInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"The entry point has an open quote: {text}. Close it, or give the words one by one: -EntryPoint python, 'my file.py'.",
                text
            );
        }

        if (open || word.Length > 0)
        {
            words.Add(word.ToString());
        }

        return [.. words];
    }

    /// <summary>One line for people to read; quoted where needed. Never run.</summary>
    internal static string Show(IEnumerable<string> words) =>
        string.Join(
            ' ',
            words.Select(w =>
                w.Length > 0
                && !w.Any(c =>
                    char.IsWhiteSpace(c)
                    || c is '"' or '\'' or '$' or '&' or ';' or '|' or '<' or '>' or '(' or ')' or '`'
                )
                    ? w
                    : "'" + w.Replace("'", "''", StringComparison.Ordinal) + "'"
            )
        );
}
