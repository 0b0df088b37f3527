using System.Text.RegularExpressions;

namespace WandbLaunch.Server.Data;

/// <summary>What may be a name. Names become parts of addresses, of paths on the machines of those who download, and lines of tables.</summary>
internal static partial class Names
{
    private const int Longest = 128;

    /// <summary>Id of a run, as W&amp;B's clients make them.</summary>
    internal static void CheckRun(string name)
    {
        if (!RunName().IsMatch(name) || name is "." or "..")
        {
            throw new ServerFault(
                $"\"{Shown(name)}\" cannot be the id of a run: it has 1 to {Longest} letters, digits, and the signs _ . - (and is not . or ..)."
            );
        }
    }

    /// <summary>Name of an entity, project, queue, artifact: one part of a path, any script.</summary>
    internal static void CheckPart(string what, string name)
    {
        if (
            name.Length is 0 or > Longest
            || name is "." or ".."
            || name.AsSpan().IndexOfAny('/', '\\') >= 0
            || !IsText(name)
        )
        {
            throw new ServerFault(
                $"\"{Shown(name)}\" cannot be {what}: it has 1 to {Longest} characters, no slash and no control character, and is not . or .."
            );
        }
    }

    /// <summary>Name of a file below a run or in an artifact: a relative path that stays where it is.</summary>
    internal static void CheckFile(string name)
    {
        if (
            name.Length is 0 or > 1024
            || !IsText(name)
            || name.Contains('\\', StringComparison.Ordinal)
            || name.Split('/').Any(p => p is "" or "." or "..")
        )
        {
            throw new ServerFault(
                $"\"{Shown(name)}\" cannot be the name of a file: it is a relative path of at most 1,024 characters with / between its parts, none of which is empty, . or .."
            );
        }
    }

    /// <summary>Looks at every name in a mutation's input, whichever it is.</summary>
    internal static void CheckInput(string mutation, IEnumerable<KeyValuePair<string, object?>> input)
    {
        foreach (var (field, value) in input)
        {
            switch (field, value)
            {
                case ("entityName", string name):
                    CheckPart("the name of an entity", name);
                    break;
                case ("projectName" or "modelName", string name):
                    CheckPart("the name of a project", name);
                    break;
                case ("name", string name) when mutation == "upsertModel":
                    CheckPart("the name of a project", name);
                    break;
                case ("name", string name) when mutation == "upsertBucket":
                    CheckRun(name);
                    break;
                case ("runName", string name) when mutation is not "ackRunQueueItem":
                    CheckRun(name);
                    break;
                case ("runName" or "hostname" or "stage", string name)
                    when name.Length > 1024 || name.Any(char.IsControl):
                    throw new ServerFault($"{field} is one line of at most 1,024 characters.");
                case ("queueName", string name):
                    CheckPart("the name of a queue", name);
                    break;
                case ("artifactTypeName", string name):
                    CheckPart("the type of an artifact", name);
                    break;
                case ("artifactCollectionName", string name):
                    CheckPart("the name of an artifact", name);
                    break;
                case ("alias", string name):
                    CheckPart("an alias of an artifact", name);
                    break;
                case ("name", string name) when mutation is "artifactFiles":
                    CheckFile(name);
                    break;
                case ("files", IEnumerable<object?> files) when mutation == "createRunFiles":
                    foreach (var file in files)
                    {
                        CheckFile(file as string ?? "");
                    }

                    break;
                case ("artifactCollectionNames", IEnumerable<object?> names):
                    foreach (var name in names)
                    {
                        CheckPart("the name of an artifact", name as string ?? "");
                    }

                    break;
                case ("aliases" or "artifactFiles", IEnumerable<object?> inner):
                    foreach (var part in inner.OfType<IEnumerable<KeyValuePair<string, object?>>>())
                    {
                        CheckInput(field, part);
                    }

                    break;
            }
        }
    }

    /// <summary>Lower case, runs of other characters as one dash, trimmed (protocol B.6, UpsertModel).</summary>
    internal static string Project(string name) =>
        NotWord().Replace(name.Trim().ToLowerInvariant(), "-").Trim('-', '_');

    private static bool IsText(string name)
    {
        for (var i = 0; i < name.Length; i++)
        {
            if (char.IsHighSurrogate(name[i]) && i + 1 < name.Length && char.IsLowSurrogate(name[i + 1]))
            {
                i++;
            }
            else if (char.IsControl(name[i]) || char.IsSurrogate(name[i]) || name[i] is '\u2028' or '\u2029')
            {
                return false;
            }
        }

        return true;
    }

    private static string Shown(string name) =>
        JsonLimits.Short(string.Concat(name.Select(c => char.IsControl(c) || char.IsSurrogate(c) ? '\ufffd' : c)), 60);

    // \z and not $, which a line feed may follow.
    [GeneratedRegex(@"\A[A-Za-z0-9_.-]{1,128}\z")]
    private static partial Regex RunName();

    [GeneratedRegex("[^a-z0-9_.]+")]
    private static partial Regex NotWord();
}
