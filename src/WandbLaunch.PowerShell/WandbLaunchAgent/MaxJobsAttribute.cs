using System.Collections;
using System.Globalization;
using System.Management.Automation;

namespace WandbLaunch.PowerShell;

/// <summary>Takes one number for all runs, or one for each resource: a table, or resource=number.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class MaxJobsAttribute : ArgumentTransformationAttribute
{
    private const int Most = 10_000;

    /// <inheritdoc/>
    public override object? Transform(EngineIntrinsics engineIntrinsics, object? inputData)
    {
        var plain = Base(inputData);
        if (plain is null)
        {
            return null;
        }

        if (Number(plain, -1) is { } all)
        {
            return all;
        }

        if (plain is string word && !word.Contains('=', StringComparison.Ordinal))
        {
            throw Wrong(word);
        }

        if (new NameValueAttribute().Transform(engineIntrinsics, plain) is not IDictionary given || given.Count == 0)
        {
            throw Wrong(plain);
        }

        var table = new Hashtable(StringComparer.OrdinalIgnoreCase);
        foreach (DictionaryEntry entry in given)
        {
            table[entry.Key.ToString()!] =
                Number(Base(entry.Value), 1)
                ?? (Number(Base(entry.Value), -1) == -1 ? -1 : throw Wrong($"{entry.Key}={entry.Value}"));
        }

        return table;
    }

    private static int? Number(object? value, int least) =>
        value is not (bool or char or Enum or double or float or decimal)
        && int.TryParse(
            Convert.ToString(value, CultureInfo.InvariantCulture),
            NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture,
            out var number
        )
        && number >= least
        && number <= Most
            ? number
            : null;

    private static object? Base(object? value) => value is PSObject shell ? shell.BaseObject : value;

    private static ArgumentTransformationMetadataException Wrong(object given) =>
        new(
            $"'{given}' is neither a number of runs (-1 for no limit, {Most} at most) nor a number for each resource: @{{ resource = 2 }}, or resource=2 with Tab for the names."
        );
}
