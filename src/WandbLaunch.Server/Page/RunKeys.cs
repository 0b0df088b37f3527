using System.Text;
using System.Text.Json;
using Dapper;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>Which keys configs and summaries of a project's runs have: of its newest runs, for whoever chooses columns.</summary>
internal sealed class RunKeys(Database database)
{
    private const int Looked = 2_000;
    private const int Most = 5_000;
    private const long MostBytes = 64L << 20;

    /// <summary>Keys with how many of the runs that were looked at have them.</summary>
    internal (List<KeyCount> Config, List<KeyCount> Summary, int Looked) Find(long project)
    {
        var (config, summary) = (
            new Dictionary<string, int>(StringComparer.Ordinal),
            new Dictionary<string, int>(StringComparer.Ordinal)
        );
        var (looked, bytes) = (0, 0L);
        using var connection = database.Open();
        foreach (
            var (c, s) in connection.Query<(string, string)>(
                "SELECT config, summary FROM runs WHERE project = @project ORDER BY created_at DESC, id DESC LIMIT @limit",
                new { project, limit = Looked },
                buffered: false
            )
        )
        {
            Count(c, config);
            Count(s, summary);
            looked++;
            bytes += c.Length + s.Length;
            if (bytes > MostBytes)
            {
                break;
            }
        }

        return (Sorted(config), Sorted(summary), looked);
    }

    private static List<KeyCount> Sorted(Dictionary<string, int> counts) =>
        counts
            .Where(c => c.Key is not ("_wandb" or "wandb_version"))
            .OrderByDescending(c => c.Value)
            .ThenBy(c => c.Key, StringComparer.Ordinal)
            .Select(c => new KeyCount(c.Key, c.Value))
            .ToList();

    // Names alone, and nothing made of the values.
    private static void Count(string json, Dictionary<string, int> counts)
    {
        var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(json));
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return;
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var name = reader.GetString()!;
                if (counts.Count < Most || counts.ContainsKey(name))
                {
                    counts[name] = counts.GetValueOrDefault(name) + 1;
                }

                reader.Read();
                reader.Skip();
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // What was stored before there were limits.
        }
    }

    /// <summary>A key, and how many runs have it.</summary>
    internal sealed record KeyCount(string Key, int Count);
}
